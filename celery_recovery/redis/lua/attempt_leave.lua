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
  ARGV[8]  of a dead letter what it will say, as JSON, so that anybody can write it; else ''

  Returns  a list: verdict, and how it ended, as JSON
           'go'    nobody else has: publish; or publish the letter that somebody meant to write and may not have
           'gone'  what follows has started already, or the life has ended: somebody else saw to it
]]
-- include now attempt

local life, step, copy, next_copy = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local boot, worker, ttl, letter = ARGV[5], ARGV[6], tonumber(ARGV[7]), ARGV[8]
local known = attempt_of(life)
local revoked, meant = '', ''
if known then
  if known.state == 'done' or known.step > step or is_revoked(known, copy) then return {'gone', known.ended} end
  if known.step == step and known.copy ~= copy then return {'gone', known.ended} end
  revoked = known.revoked
  if known.step == step and known.next ~= next_copy then revoked = revoked_with(known) end -- else asked twice
  if known.step == step and known.state == 'leaving' then meant = known.ended end
  leave_the_dock(known.boot, life)
end
redis.call('HSET', attempt_key(life), 'step', step, 'copy', copy, 'state', 'leaving', 'boot', boot, 'worker', worker,
  'at', now(), 'next', next_copy, 'revoked', revoked, 'ended', meant ~= '' and meant or letter)
redis.call('EXPIRE', attempt_key(life), ttl)
return {'go', meant}
