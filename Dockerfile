# The daemon, or any command: docker run … IMAGE --full-check

FROM python:3.11-slim-bookworm AS wheels
WORKDIR /wheels
# With the API: switched on by RECONCILER__API__ENABLED=true and RECONCILER__API__HOST=0.0.0.0 with api.auth.
COPY requirements-api.txt .
RUN pip wheel --no-cache-dir --require-hashes --only-binary :all: --wheel-dir /wheels -r requirements-api.txt

FROM python:3.11-slim-bookworm
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
RUN groupadd --gid 10001 reconciler \
    && useradd --uid 10001 --gid reconciler --no-create-home --shell /usr/sbin/nologin reconciler \
    && install --directory --owner=reconciler --group=reconciler /var/lib/reconciler
WORKDIR /app
COPY requirements-api.txt .
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-compile --no-index --find-links /wheels --require-hashes -r requirements-api.txt
COPY run.py config.yaml ./
COPY cli/ cli/
COPY app/ app/
COPY jobs/ jobs/
COPY reconciler/ reconciler/

# The SQLite ledger and the reports: what must outlive the container.
VOLUME /var/lib/reconciler
ENV LEDGER_URL=sqlite:////var/lib/reconciler/ledger.db \
    RECONCILER__REPORTS__DIRECTORY=/var/lib/reconciler/reports \
    RECONCILER__LOG__FORMAT=json
EXPOSE 8080
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "run.py"]
