--[[
  A worker asks whether it may run this message, and is from now on the one that runs it.

  KEYS[1]  root of the store's keys

  ARGV[1]  life
  ARGV[2]  step
  ARGV[3]  copy; '' if it was never announced
  ARGV[4]  '1' if the broker delivers it again, else '0'
  ARGV[5]  life of the worker that asks
  ARGV[6]  its node name
  ARGV[7]  crashes after which a task is poison
  ARGV[8]  seconds that this is remembered
  ARGV[9]  names this question: asked again because the answer was lost, it is answered as before

  Returns  a list: verdict; crashes so far; of each crash what is known, as JSON (a list of {at, worker}); and of a twin
           or a letter how its life ended, as JSON, of a busy one the life of the worker that runs it
           'new'     go on; nothing was known of this life
           'run'     go on
           'twin'    another copy has taken its place, or it has ended: drop it
           'busy'    a worker that lives still runs it, or the message that this one follows: ask again later
           'letter'  a dead letter of it was meant to be written, and may not have been: write it
           'wait'    it has crashed a worker, and so has another that this worker runs now: ask again later
           'poison'  it has crashed its worker too often
]]
-- include now attempt

local life, step, copy, redelivered = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4] == '1'
local boot, worker, limit, ttl, asked = ARGV[5], ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9]
local at = now()
local known = attempt_of(life)
local crashes, seen, verdict = 0, '[]', 'new'

if known then
  crashes, seen, verdict = known.crashes, known.seen ~= '' and known.seen or '[]', 'run'
  if known.state == 'done' or known.step > step or is_revoked(known, copy) then
    return {'twin', crashes, seen, known.ended}
  end
  if known.step < step and copy ~= '' and known.state == 'running' and is_running(known, life, at) then
    return {'busy', crashes, seen, known.boot} -- parked, and delivered again all the same; that one is under way
  end
  if known.step == step then
    if known.copy ~= copy or known.state == 'left' then return {'twin', crashes, seen, known.ended} end
    if known.state == 'running' and known.asked == asked then
      return {crashes >= limit and 'poison' or verdict, crashes, seen, ''}
    end
    if known.state == 'running' or known.state == 'leaving' then
      if is_running(known, life, at) then
        if redelivered then return {'busy', crashes, seen, known.boot} end
        return {'twin', crashes, seen, ''}
      end
      if known.state == 'leaving' and known.ended ~= '' then return {'letter', crashes, seen, known.ended} end
      if redis.call('HGET', attempt_key(life), 'moved') == ARGV[2] then
        crashes, seen = 0, '[]' -- a batch of it got further: it has not died where it died before
        redis.call('HDEL', attempt_key(life), 'moved')
      end
      local crash = cjson.encode({at = tonumber(known.at), worker = known.worker})
      seen = crashes == 0 and '[' .. crash .. ']' or string.sub(seen, 1, -2) .. ',' .. crash .. ']'
      crashes = crashes + 1
      redis.call('HSET', attempt_key(life), 'crashes', crashes, 'seen', seen, 'revoked', revoked_with(known), 'next', '')
    end
  end
end

if crashes > 0 and crashes < limit then
  local other = redis.call('GET', suspect_key(boot))
  local theirs = other and other ~= life and attempt_of(other)
  if theirs and theirs.state == 'running' and theirs.boot == boot and is_running(theirs, other, at) then
    redis.call('HSET', attempt_key(life), 'step', step, 'copy', copy, 'state', 'waiting', 'at', at)
    redis.call('EXPIRE', attempt_key(life), ttl)
    return {'wait', crashes, seen, ''}
  end
  redis.call('SET', suspect_key(boot), life, 'EX', 86400)
end

redis.call('HSET', attempt_key(life), 'step', step, 'copy', copy, 'state', 'running', 'boot', boot, 'worker', worker,
  'at', at, 'next', '', 'ended', '', 'asked', asked)
redis.call('EXPIRE', attempt_key(life), ttl)
return {crashes >= limit and 'poison' or verdict, crashes, seen, ''}
