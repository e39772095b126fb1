# The small environment in a container, JupyterLab in front; docs/runs.md says how to build and start it.
FROM python:3.11-slim

# The index that has torch's processor builds: --build-arg PIP_EXTRA_INDEX_URL=...
ARG PIP_EXTRA_INDEX_URL
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]

RUN useradd --uid 1000 --create-home melib && install -d -o melib /melib
USER 1000
WORKDIR /melib
ENV VIRTUAL_ENV=/melib/.venv PATH=/melib/.venv/bin:$PATH

# First what changes seldom, so that a changed file doesn't install everything anew.
COPY --chown=melib requirements-cpu.lock ./
RUN python -m venv .venv && \
    python -m pip install --no-cache-dir --no-compile --disable-pip-version-check \
        -r requirements-cpu.lock
COPY --chown=melib . .
RUN python -m pip install --no-cache-dir --disable-pip-version-check --no-deps -e . && \
    python -c 'import matplotlib.font_manager' && \
    melib --help

EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser"]
