--[[
  How many of the tasks that wait for the circuit may go back to their queues now: `Machine.pace`.

  KEYS[1]  root of the circuit's keys

  ARGV[1]  unix seconds; '': the server's own clock
  ARGV[2]  settings: the numbers of POLICY, packed; they count as long as no call has named any
  ARGV[3]  most tasks

  Returns  a list: tasks; seconds until the next look, as text
]]
-- include now circuit_call circuit_record circuit_places circuit_pace

begin(ARGV[1], ARGV[2], '')
go_by_what_is_known()
local most, record = tonumber(ARGV[3]), stored('')
local state, wait = record.state, record.open_until and record.open_until - at

-- A token bucket whose rate doubles every DOUBLING seconds, up to the share that new calls leave.
local function returning()
  if not record.rate then record.rate, record.paced_at, record.credit = first_rate(record), at, 1 end
  local passed = math.max(at - record.paced_at, 0)
  local credit = math.min(record.credit + record.rate * passed, math.max(record.rate * BURST, 1))
  local rate = math.min(record.rate * 2 ^ math.min(passed / DOUBLING, 60), top_rate(record))
  local count = math.min(math.floor(credit), most)
  touch(record, 'rate', rate)
  touch(record, 'paced_at', at)
  touch(record, 'credit', credit - count)
  if count > 0 then touch(record, 'returned_at', at) end
  return count, rate * LOOK >= 1 and LOOK or math.min(1 / rate, PROBE_PAUSE)
end

-- It is open and its time over, or it is half open: so many tasks are sent as can probe.
local function probing()
  local free = state == 'half_open' and free_places(record) or policy.half_open_permits
  if (record.probed_at or -math.huge) + PROBE_PAUSE > at or free <= 0 then return 0, PROBE_PAUSE end
  touch(record, 'probed_at', at)
  return math.min(free, most), PROBE_PAUSE
end

local count, look
if state == 'forced_open' and (not wait or wait > 0) then
  count, look = 0, PROBE_PAUSE
elseif (state == 'open' or state == 'forced_open') and wait and wait > 0 then
  count, look = 0, math.min(wait, PROBE_PAUSE)
elseif state == 'closed' or state == 'disabled' then
  count, look = returning()
else
  count, look = probing()
end
record.whole = record.fresh
keep_settings(record)
save(record)
return {count, precise(look)}
