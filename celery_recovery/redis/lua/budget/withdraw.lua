--[[
  Asks whether one more retry may go; pays in first what calls the asker has counted. Repeated, it answers as before.

  KEYS[1]  root of the budget's keys

  ARGV[1]  who asks
  ARGV[2]  number of the question; it is never asked two with one number
  ARGV[3]  window in microseconds, a multiple of 10
  ARGV[4]  retries per call
  ARGV[5]  retries that a window allows beside
  ARGV[6]  calls to pay in
  ARGV[7]  how long ago the first of them was made, in microseconds
  ARGV[8]  microseconds of a clock that goes for the server's; '': the server's

  Returns  1 granted, 0 refused
]]
-- include now budget

local known = answered(ARGV[1], ARGV[2])
if known then return known end
local at, window = instant(ARGV[8]), tonumber(ARGV[3])
pay_in(at, window, tonumber(ARGV[6]), tonumber(ARGV[7]))
local sums, _, old = looked_at(at, window)
local granted = sums.retries + 1 <= tonumber(ARGV[4]) * sums.calls + tonumber(ARGV[5])
if granted then
  count_part('retries', at, window, 1)
  redis.call('HINCRBY', BUDGET, 'granted', 1)
else
  redis.call('HINCRBY', BUDGET, 'refused', 1)
end
tidy(window, old)
remember(ARGV[1], ARGV[2], granted and 1 or 0)
return granted and 1 or 0
