--[[
  Calls have ended, or one gives its place back without a word.

  KEYS[1]   root of the circuit's keys

  ARGV[1]   unix seconds; '': the server's own clock
  ARGV[2]   settings: the numbers of POLICY, packed
  ARGV[3]   name of this call: the same when it is repeated
  ARGV[4]   host that reports; '': hosts do not count
  ARGV[5]   token of a probe
  ARGV[6]   generation under which the calls were admitted
  ARGV[7]   calls; 0: the place of the token is given back
  ARGV[8]   failed ones
  ARGV[9]   slow ones
  ARGV[10]  the host whose circuit had admitted them; '': that of all

  Returns   what `admit` returns, and 0 in front
]]
-- include now circuit_call circuit_record circuit_window circuit_move circuit_places circuit_pace circuit_count circuit_answer

begin(ARGV[1], ARGV[2], ARGV[3])
local again = not is_first()
if not again then
  report(tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[5], ARGV[10])
end
return answer(record_for(ARGV[4]), false, again)
