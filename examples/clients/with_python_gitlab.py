"""Follows the newest pipeline of a project with python-gitlab. Run by examples/demo.py; also a snippet to
copy.

usage: with_python_gitlab.py URL TOKEN PROJECT
"""

import sys
import time

import gitlab

url, token, path = sys.argv[1:]
project = gitlab.Gitlab(url, private_token=token).projects.get(path)
while not (pipelines := project.pipelines.list(get_all=False)):
    time.sleep(0.2)
pipeline = pipelines[0]
while pipeline.status not in ("success", "failed", "canceled", "skipped"):
    print(f"pipeline {pipeline.id} {pipeline.status}", flush=True)
    time.sleep(0.3)
    pipeline.refresh()
for job in pipeline.jobs.list(get_all=True):
    print(f"  {job.stage:<8} {job.name:<24} {job.status}")
print(f"RESULT run={pipeline.id} jobs={len(pipeline.jobs.list(get_all=True))} outcome={pipeline.status}")
