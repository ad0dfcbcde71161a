--[[
  Gives the lease on an operation up, so that the next one need not wait for its end.

  KEYS[1]  root of the store's keys

  ARGV[1]  id of the operation
  ARGV[2]  token of the lease

  Returns  1 if it was ours, else 0
]]
local runner = operation_runner_key(ARGV[1])
if redis.call('GET', runner) ~= ARGV[2] then return 0 end
return redis.call('DEL', runner)
