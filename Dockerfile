# visret as a server, on the CPU:   docker build -t visret .
# on a GPU of NVIDIA:               docker build -t visret --build-arg TORCH=https://download.pytorch.org/whl/cu126 .
# compose.yaml runs it; docs/server.md says how, and what it needs.

FROM python:3.12-slim AS build
ARG TORCH=https://download.pytorch.org/whl/cpu
ARG EXTRAS=mcp,metrics,ocr,watch
RUN python -m venv /opt/visret
RUN /opt/visret/bin/pip install --no-cache-dir --index-url "$TORCH" "torch>=2.6,<2.14" torchvision
WORKDIR /src
COPY pyproject.toml models.yaml README.md LICENSE ./
COPY visret visret
RUN /opt/visret/bin/pip install --no-cache-dir ".[$EXTRAS]"

FROM python:3.12-slim
RUN useradd --uid 10001 --create-home --home-dir /home/visret visret && mkdir /data && chown visret:visret /data
COPY --from=build /opt/visret /opt/visret
# Whatever is written besides the index goes to /tmp, so that the rest of the file system can be read-only.
ENV PATH=/opt/visret/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    VISRET_CACHE=/tmp/visret
USER 10001:10001
VOLUME /data
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["visret"]
CMD ["serve", "/data/index", "--host", "0.0.0.0", "--log-level", "info", "--log-json"]
