--[[
  Removes letters that were finished long enough ago. Other scripts do it in passing, a few at a time.

  KEYS[1]  root of the store's keys

  ARGV[1]  seconds that finished letters are kept; -1: for ever
  ARGV[2]  most letters to remove

  Returns  how many were removed
]]
-- include now read enter sweep

return sweep(tonumber(now()), tonumber(ARGV[1]), tonumber(ARGV[2]))
