"""Artifact types of GitLab: the report keywords, their upload format and default file name (gitlab.md
§2.6)."""

# By type: (format, file name).
REPORTS: dict[str, tuple[str, str]] = {
    "junit": ("gzip", "junit.xml"),
    "dotenv": ("gzip", ".env"),
    "cobertura": ("gzip", "cobertura-coverage.xml"),
    "jacoco": ("gzip", "jacoco-coverage.xml"),
    "metrics": ("gzip", "metrics.txt"),
    "cyclonedx": ("gzip", "gl-sbom.cdx.json"),
    "annotations": ("gzip", "gl-annotations.json"),
    "repository_xray": ("gzip", "gl-repository-xray.json"),
    "lsif": ("zip", "lsif.json"),
    "accessibility": ("raw", "gl-accessibility.json"),
    "codequality": ("raw", "gl-code-quality-report.json"),
    "sast": ("raw", "gl-sast-report.json"),
    "secret_detection": ("raw", "gl-secret-detection-report.json"),
    "dependency_scanning": ("raw", "gl-dependency-scanning-report.json"),
    "container_scanning": ("raw", "gl-container-scanning-report.json"),
    "cluster_image_scanning": ("raw", "gl-cluster-image-scanning-report.json"),
    "dast": ("raw", "gl-dast-report.json"),
    "coverage_fuzzing": ("raw", "gl-coverage-fuzzing-report.json"),
    "api_fuzzing": ("raw", "gl-api-fuzzing-report.json"),
    "license_scanning": ("raw", "gl-license-scanning-report.json"),
    "performance": ("raw", "performance.json"),
    "browser_performance": ("raw", "browser-performance.json"),
    "load_performance": ("raw", "load-performance.json"),
    "terraform": ("raw", "tfplan.json"),
    "requirements": ("raw", "requirements.json"),
    "requirements_v2": ("raw", "requirements_v2.json"),
}
COVERAGE_FORMATS = ("cobertura", "jacoco")
# What may stand under `artifacts:reports`: coverage has been one keyword with a format since GitLab 15.0.
REPORT_KEYS = (*(kind for kind in REPORTS if kind not in COVERAGE_FORMATS), "coverage_report")
