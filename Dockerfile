# Serve an exported model: the light path only, neither torch nor transformers.
#
#   docker build -t trainer-ext-serve .
#   docker run -p 8000:8000 -v $PWD/outputs/mine-onnx:/model:ro trainer-ext-serve
#
# The API key, if there is one: -e TRAINER_EXT_API_KEY=... Other flags go behind the name of the image.

FROM python:3.11-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
WORKDIR /src
COPY constraints.txt docker/serve.txt ./
RUN pip install --no-cache-dir -c constraints.txt setuptools wheel -r serve.txt
COPY setup.py setup.cfg pyproject.toml README.md LICENSE ./
COPY trainer_ext trainer_ext
# What setup.cfg asks for is for training; serve.txt holds what serving imports.
RUN pip install --no-cache-dir --no-deps --no-build-isolation . \
    && pip uninstall --yes setuptools wheel pip

FROM python:3.11-slim
COPY --from=build /venv /venv
RUN useradd --system --no-create-home --uid 10001 serve
USER serve
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD \
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=2)"]
ENTRYPOINT ["trainer-ext", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["--model", "/model"]
