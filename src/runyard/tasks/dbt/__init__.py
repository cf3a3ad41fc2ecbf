"""Programs of steps that run a repository's own dbt project. Steps of Datafold builds call them; they see
only syntax."""
