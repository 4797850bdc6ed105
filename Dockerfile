# The KDC as an image: hashed packages only, no root, the realm in a volume.
#   docker build -t keytrust-kdc .
#   docker run -v realm:/var/lib/kdc keytrust-kdc init --realm LAB.TEST --listen 0.0.0.0:88
#   docker run -v realm:/var/lib/kdc -p 88:88/udp -p 88:88/tcp -p 464:464/udp -p 464:464/tcp keytrust-kdc
# conf/compose.yaml does the same with everything else closed.

FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# For the compiled form of what a logon passes through (docs/performance.md).
RUN apt-get -q update && apt-get -q -y install --no-install-recommends gcc libc6-dev
# The build tool comes from the full lock, what will run from the run-time lock: neither is resolved here.
COPY requirements.lock requirements-run.lock ./
RUN python -m venv /build && /build/bin/pip install --require-hashes -r requirements.lock
RUN python -m venv /opt/kdc && /opt/kdc/bin/pip install --require-hashes -r requirements-run.lock
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY compiled ./compiled
COPY pki ./pki
COPY directory ./directory
COPY kdc ./kdc
COPY tenant ./tenant
RUN KEYTRUST_COMPILED=1 /build/bin/python -m hatchling build -t wheel -d /dist \
    && /opt/kdc/bin/pip install --no-index --no-deps /dist/*.whl

FROM python:3.12-slim
RUN groupadd --system --gid 10088 kdc \
    && useradd --system --uid 10088 --gid kdc --home-dir /var/lib/kdc --shell /usr/sbin/nologin kdc \
    && install -d -o kdc -g kdc -m 0700 /var/lib/kdc
COPY --from=build /opt/kdc /opt/kdc
# Container engines let any user bind port 88 (net.ipv4.ip_unprivileged_port_start=0): no capability is needed.
ENV PATH=/opt/kdc/bin:$PATH KDC_STATE=/var/lib/kdc PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER kdc
WORKDIR /var/lib/kdc
VOLUME /var/lib/kdc
# Kerberos and kpasswd; what http.listen and kkdcp.listen of kdc.toml name is to be published besides.
EXPOSE 88/udp 88/tcp 464/udp 464/tcp
# A real AS-REQ must be answered, by error 25 or by a reply.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 CMD ["kdc", "probe", "--kdc", "127.0.0.1:88"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["kdc"]
CMD ["serve", "--listen", "0.0.0.0:88"]
