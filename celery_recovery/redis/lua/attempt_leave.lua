--[[
  An attempt has ended, and what follows it is about to be published: a retry under a new copy, or a dead letter.

  KEYS[1]  root of the store's keys

  ARGV[1]  life
  ARGV[2]  step that ends
  ARGV[3]  its copy
  ARGV[4]  copy that will follow; '' for a dead letter
  ARGV[5]  life of the worker that runs it
  ARGV[6]  its node name
  ARGV[7]  seconds that this is remembered

  Returns  a list: verdict, and how it ended before, as JSON
           'go'    nobody else has: publish
           'gone'  what follows has started already, or the life has ended: somebody else saw to it
]]
-- include now attempt

local life, step, copy, next_copy = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local boot, worker, ttl = ARGV[5], ARGV[6], tonumber(ARGV[7])
local known = attempt_of(life)
local revoked = ''
if known then
  if known.state == 'done' or known.step > step or is_revoked(known, copy) then return {'gone', known.ended} end
  if known.step == step and known.copy ~= copy then return {'gone', known.ended} end
  if known.step == step then revoked = revoked_with(known) else revoked = known.revoked end
  leave_the_dock(known.boot, life)
end
redis.call('HSET', attempt_key(life), 'step', step, 'copy', copy, 'state', 'leaving', 'boot', boot, 'worker', worker,
  'at', now(), 'next', next_copy, 'revoked', revoked)
redis.call('EXPIRE', attempt_key(life), ttl)
return {'go', ''}
