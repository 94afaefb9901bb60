"""The upstream behind `make run`: a fixed script that speaks both APIs and says that it is one."""
