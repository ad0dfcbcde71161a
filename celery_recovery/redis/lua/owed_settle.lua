--[[
  Removes an owed outcome that the result backend has now.

  KEYS[1]  root of the store's keys

  ARGV[1]  id of the task
  ARGV[2]  mark of the record that was settled

  Returns  'settled'  removed
           'stale'    a newer outcome of the same task has taken its place, or there is none
]]

local id, mark = ARGV[1], ARGV[2]
if redis.call('HGET', owed_key(id), 'mark') ~= mark then return 'stale' end
redis.call('DEL', owed_key(id))
redis.call('ZREM', OWED, id)
return 'settled'
