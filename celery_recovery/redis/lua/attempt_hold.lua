--[[
  A worker has lost its broker and says what it goes on running: the broker will give these messages to others.

  KEYS[1]  root of the store's keys

  ARGV[1]  life of the worker
  ARGV[2]  its node name
  ARGV[3]  seconds that this is remembered
  ARGV[4…] life, step and copy of each task, in turn

  Returns  how many were noted; not noted: those of which something later is known
]]
-- include now attempt

local boot, worker, ttl, noted = ARGV[1], ARGV[2], tonumber(ARGV[3]), 0
for i = 4, #ARGV, 3 do
  local life, step, copy = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  local known = attempt_of(life)
  local elsewhere = known and known.boot ~= boot and known.state == 'running' and is_running(known, life, now())
  local ended = known and (known.step > step or known.state == 'done' or known.state == 'leaving')
  if not elsewhere and not ended then
    redis.call('HSET', attempt_key(life), 'step', step, 'copy', copy, 'state', 'running', 'boot', boot,
      'worker', worker, 'at', now(), 'next', '')
    redis.call('EXPIRE', attempt_key(life), ttl)
    noted = noted + 1
  end
end
return noted
