--[[
  What a budget looks like. Changes nothing.

  KEYS[1]  root of the budget's keys

  ARGV[1]  window in microseconds, a multiple of 10
  ARGV[2]  microseconds of a clock that goes for the server's; '': the server's

  Returns  calls and retries of the window, retries granted and refused since the budget is known
]]
-- include now budget

local sums, totals = looked_at(instant(ARGV[2]), tonumber(ARGV[1]))
return {sums.calls, sums.retries, totals.granted, totals.refused}
