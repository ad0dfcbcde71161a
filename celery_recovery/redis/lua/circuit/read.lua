--[[
  All that can be seen of the circuit; nothing changes.

  KEYS[1]  root of the circuit's keys

  ARGV[1]  unix seconds; '': the server's own clock
  ARGV[2]  settings: the numbers of POLICY, packed; they count as long as no call has named any

  Returns  a list: state, '' if it is not known; numbers as text, '' for none: generation, since, open until, openings,
           calls, failed, slow, failures in a row, places held, steady rate, rate of the return; then a list of hosts
           whose own circuit is not closed, each followed by its state; the history, the latest first; the settings that count,
           packed
]]
-- include now circuit_call circuit_record circuit_window circuit_places

begin(ARGV[1], ARGV[2], '')
go_by_what_is_known()
local record = stored('')

local function seen_of_hosts()
  local seen = {}
  for _, host in ipairs(redis.call('ZRANGE', HOSTS, 0, -1)) do
    local state = redis.call('HGET', record_key(host), 'state')
    if state and state ~= 'closed' then
      seen[#seen + 1] = host
      seen[#seen + 1] = state
    end
  end
  return seen
end

local calls, failed, slow = record.calls, record.failed, record.slow
if record.state ~= 'half_open' then
  local window = window_of(record)
  advance(window)
  calls, failed, slow = window[2], window[3], window[4]
end
local lately = record.returned_at and at - record.returned_at <= policy.window
local reply = {record.fresh and '' or record.state}
local numbers = {record.generation, record.since, record.open_until or '', record.openings, calls, failed, slow, record.row,
  held_places(record), record.steady, lately and record.rate or ''}
for i, number in ipairs(numbers) do reply[i + 1] = number == '' and '' or precise(number) end
reply[#reply + 1] = seen_of_hosts()
reply[#reply + 1] = redis.call('LRANGE', HISTORY, 0, -1)
reply[#reply + 1] = settings
return reply
