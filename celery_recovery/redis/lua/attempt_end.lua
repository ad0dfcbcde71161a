--[[
  Notes that a life has ended, or that a message was given back to the broker before its time.

  KEYS[1]  root of the store's keys

  ARGV[1]  life
  ARGV[2]  step
  ARGV[3]  copy
  ARGV[4]  'done'     it has ended: every copy that is still about is a twin
           'left'     what follows is published: a copy of this step that comes again is a twin
           'waiting'  it is the broker's again: when it comes back, it has crashed nothing
  ARGV[5]  how it ended, as JSON; '' if that is told elsewhere
  ARGV[6]  seconds that this is remembered

  Returns  '1' if it was noted, '0' if a later step is known, or another copy
]]
-- include now attempt

local life, step, copy, state, ended, ttl = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local known = attempt_of(life)
if known then
  leave_the_dock(known.boot, life)
  if known.step > step or (known.step == step and known.copy ~= copy) or known.state == 'done' then return 0 end
end
redis.call('HSET', attempt_key(life), 'step', step, 'copy', copy, 'state', state, 'at', now(), 'ended', ended)
redis.call('EXPIRE', attempt_key(life), ttl)
return 1
