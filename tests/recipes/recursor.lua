clearTA(".")
addTA(".", "@DS @")
dofile("/etc/powerdns/plustwo.lua")
