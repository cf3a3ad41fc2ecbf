"""The validators of a LookML project: LookML (`checks`), SQL on a database (`sqlcheck`). Run by `program` and
the command line."""
