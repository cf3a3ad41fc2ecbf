"""The Gitea and Forgejo runner protocol (contracts/depot.md §8): stock act_runner and forgejo-runner take
Actions jobs from this server.

`door` are the services over Connect, `payload` makes the one-job workflow that a task carries, `tasks`
claims, `progress` hears how it goes.
"""
