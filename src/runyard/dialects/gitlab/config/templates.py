"""Templates that `include:template` may name, written for this server. GitLab's own collection is its own and
is not here.

Read by the loader. The two are the ones whose meaning is documented in full: which pipelines a project makes.
"""

_BRANCHES = """\
workflow:
  rules:
    - if: $CI_COMMIT_TAG
    - if: $CI_COMMIT_BRANCH
"""

_REQUESTS = """\
workflow:
  rules:
    - if: $CI_MERGE_REQUEST_IID
    - if: $CI_COMMIT_TAG
    - if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH
"""

TEMPLATES = {
    "Workflows/Branch-Pipelines.gitlab-ci.yml": _BRANCHES,
    "Workflows/MergeRequest-Pipelines.gitlab-ci.yml": _REQUESTS,
}
