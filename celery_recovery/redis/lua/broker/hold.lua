--[[
  Hold a message that was taken from its queue without the script `take`; registers the worker where it is not.

  KEYS[1]  hash of what the worker holds
  KEYS[2]  hash of all lives
  ARGV[1]  name of the worker's life
  ARGV[2]  what is known of that life, as JSON
  ARGV[3]  a number above all tokens given so far
  ARGV[4]  length of the queue's key, `:`, the queue's key, the message
  ARGV[5]  in which call it is done
  Returns  token
]]

redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2])
redis.call('HSETNX', KEYS[1], 'next', ARGV[3])
local token = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'next', 1)) .. '.' .. ARGV[5]
redis.call('HSET', KEYS[1], token, ARGV[4])
return token
