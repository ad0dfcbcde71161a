--[[
  Reads whole letters.

  KEYS[1]  root of the store's keys

  ARGV[1…] ids of letters

  Returns  one list per id: the letter hash as JSON, then the message as `packing.py` writes it; an empty list if there
           is no such letter
]]
-- include row

local rows = {}
for i = 1, #ARGV do rows[i] = row(ARGV[i]) end
return rows
