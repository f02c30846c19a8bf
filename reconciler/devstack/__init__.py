"""Real servers for the demo, the tests and the benchmarks; never for production.

A fake database forgives what a real one does not: write concerns, elections, a stopped process, a
constraint checked at commit. So whatever needs a server here gets a real one: a `mongod` replica set and a
PostgreSQL, started from binaries found on this machine or carried by development packages, on free loopback
ports, under one folder, and gone when the process that started them is gone.

* `binaries`: which mongod and which PostgreSQL run on this machine
* `process`, `launcher`: start a server that cannot outlive us, wait for it with a limit, end it
* `mongod`, `postgres`: one server each, with the ways to hurt it that the fault tests need
* `stack`: both together
* `sample`: a seeded platform to load into them, of a regular part (`population`) and everything ugly that real
  platforms hold (`planting`), both made of `documents`

Nothing here is imported by the service; the arrow goes only from `run.py demo`, tests and benchmarks to
here. Documents are plain dicts and no other package of the project is imported, so that the sample cannot
share a mistake with the code under test.
"""
