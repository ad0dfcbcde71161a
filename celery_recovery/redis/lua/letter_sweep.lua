--[[
  Removes letters that were finished long enough ago. Other scripts do it in passing, a few at a time.

  KEYS[1]  root of the store's keys

  ARGV[1]  how long and how many finished letters are kept, as in '604800/-1'; -1: no limit
  ARGV[2]  most letters to remove

  Returns  how many were removed
]]
-- include now number read enter sweep

return sweep(tonumber(now()), ARGV[1], tonumber(ARGV[2]))
