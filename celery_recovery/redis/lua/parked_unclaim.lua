--[[
  Gives claimed tasks back: they wait on as before, or, refused by the broker, for the next try.

  KEYS[1]  root of the store's keys

  ARGV[1]  token of the claim
  ARGV[2]  why the broker refused them; '' if it did not
  ARGV[3]  seconds until the next try, after a refusal
  ARGV[4…] keys

  Returns  how many were given back; not those that somebody else has claimed since
]]
-- include now parked

local token, why, pause, given_back = ARGV[1], ARGV[2], tonumber(ARGV[3]), 0
local at = now()
for i = 4, #ARGV do
  local key = ARGV[i]
  local parked = read_parked(key, {'claim', unpack(PLACED_BY)})
  if parked and parked.claim == token then
    redis.call('HDEL', parked_key(key), 'claim', 'claimed_until')
    if why == '' then
      place_parked(key, parked)
    else
      redis.call('HSET', parked_key(key), 'error', why)
      redis.call('HINCRBY', parked_key(key), 'refusals', 1)
      place_parked(key, parked, tonumber(at) + pause)
      redis.call('ZADD', PARKED_REFUSED, parked.due, key)
    end
    given_back = given_back + 1
  end
end
return given_back
