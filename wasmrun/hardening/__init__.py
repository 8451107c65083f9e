"""The hardening of one worker process: walls that it puts up around itself, before it runs a guest.

`order.harden` puts up the `wall.Walls` that are asked for, `trial.probe` tells which of them this machine has.
A wall is never taken down again.
"""
