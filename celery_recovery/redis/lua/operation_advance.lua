--[[
  Notes how far an operation is, and renews the lease of the one who runs it.

  KEYS[1]  root of the store's keys

  ARGV[1]  id of the operation
  ARGV[2]  token of the lease
  ARGV[3]  the lease, in milliseconds
  ARGV[4]  seconds that record and set are kept from now on
  ARGV[5…] fields of the record and their values, in turn

  Returns  'noted'    done
           'lost'     the lease is another's, or it ended and somebody paused or cancelled the operation since, or
                      there is no such operation any more
]]
-- include now

local id, token, lease, kept = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local key, runner = operation_key(id), operation_runner_key(id)
local holder, state = redis.call('GET', runner), redis.call('HGET', key, 'state')
if not state or (holder and holder ~= token) or (not holder and state ~= 'running') then return 'lost' end
redis.call('SET', runner, token, 'PX', lease)
local fields = {'changed_at', now()}
for i = 5, #ARGV do fields[#fields + 1] = ARGV[i] end
redis.call('HSET', key, unpack(fields))
redis.call('EXPIRE', key, kept)
redis.call('EXPIRE', operation_ids_key(id), kept)
return 'noted'
