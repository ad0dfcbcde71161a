--[[
  A person says what the circuit of all is to do.

  KEYS[1]  root of the circuit's keys

  ARGV[1]  unix seconds; '': the server's own clock
  ARGV[2]  settings: the numbers of POLICY, packed; they count as long as no call has named any
  ARGV[3]  name of this call: the same when it is repeated
  ARGV[4]  what it is to do: an event of TRANSITIONS
  ARGV[5]  seconds that it is forced open; '': until a person says otherwise
  ARGV[6]  who and why, as JSON

  Returns  what `admit` returns, and in front 0, or -1 if the state knows no such event
]]
-- include now circuit_call circuit_record circuit_window circuit_move circuit_places circuit_answer

begin(ARGV[1], ARGV[2], ARGV[3])
go_by_what_is_known()
local record, event = record_of(''), ARGV[4]
local again = not is_first()
local legal = again or TRANSITIONS[record.state][event] ~= nil
if legal and not again then
  move(record, event, ARGV[6])
  if event == 'force_open' and ARGV[5] ~= '' then record.open_until = at + tonumber(ARGV[5]) end
end
local reply = answer(record, false, again)
if not legal then reply[1] = -1 end
return reply
