--[[
  Reads whole letters.

  KEYS[1]  root of the store's keys

  ARGV[1]  bytes of a body beyond which it is left out; '' to leave out none
  ARGV[2…] ids of letters

  Returns  one list per id: the letter hash as JSON, then the message as `packing.py` writes it; an empty list if there
           is no such letter
]]
-- include number row

local rows = {}
local most = tonumber(ARGV[1])
for i = 2, #ARGV do rows[i - 1] = row(ARGV[i], most) end
return rows
