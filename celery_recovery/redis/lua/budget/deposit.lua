--[[
  Pays in what calls a process has counted. Repeated, it changes nothing.

  KEYS[1]  root of the budget's keys

  ARGV[1]  who pays
  ARGV[2]  number of the question; it is never asked two with one number
  ARGV[3]  window in microseconds, a multiple of 10
  ARGV[4]  calls
  ARGV[5]  how long ago the first of them was made, in microseconds
  ARGV[6]  microseconds of a clock that goes for the server's; '': the server's

  Returns  1
]]
-- include now budget

local known = answered(ARGV[1], ARGV[2])
if known then return known end
local at, window = instant(ARGV[6]), tonumber(ARGV[3])
pay_in(at, window, tonumber(ARGV[4]), tonumber(ARGV[5]))
local _, _, old = looked_at(at, window)
tidy(window, old)
remember(ARGV[1], ARGV[2], 1)
return 1
