--[[
  Reads the outcome that is owed for one task.

  KEYS[1]  root of the store's keys

  ARGV[1]  id of the task

  Returns  fields and values; empty when nothing is owed
]]

return redis.call('HGETALL', owed_key(ARGV[1]))
