--[[
  May a call go through? In front of the question, other calls that have ended, all well.

  KEYS[1]  root of the circuit's keys

  ARGV[1]  unix seconds; '': the server's own clock
  ARGV[2]  settings: the numbers of POLICY, packed
  ARGV[3]  name of this call: the same when it is repeated
  ARGV[4]  host that asks; '': hosts do not count
  ARGV[5]  token under which a probe holds its place
  ARGV[6]  generation under which ended calls were admitted; '': none are reported
  ARGV[7]  how many there are; all went well
  ARGV[8]  the host whose circuit had admitted them; '': that of all

  Returns  a list: 1 if it may, else 0; state; generation; seconds until it is worth asking again, as text, '' if that
           is for a person to say; the host whose circuit answers, '' for that of all; transitions as a JSON list, the
           first in front, '' if there were none
]]
-- include now circuit_call circuit_record circuit_window circuit_move circuit_places circuit_pace circuit_count circuit_answer

begin(ARGV[1], ARGV[2], ARGV[3])
local host, token, again = ARGV[4], ARGV[5], false
if ARGV[6] ~= '' then
  again = not is_first()
  if not again then report(tonumber(ARGV[6]), tonumber(ARGV[7]), 0, 0, '', ARGV[8]) end
end
local record = record_for(host)
local permitted = record.state == 'closed' or record.state == 'disabled'
if record.state == 'half_open' then permitted = take_place(record, token) end
return answer(record, permitted, again)
