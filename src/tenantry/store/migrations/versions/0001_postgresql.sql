CREATE TABLE attempt (
    id UUID NOT NULL,
    message_id UUID NOT NULL,
    cell_id UUID NOT NULL,
    stream_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    pool_id UUID NOT NULL,
    number INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    claimed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    outcome TEXT,
    reason TEXT,
    ses_id TEXT,
    PRIMARY KEY (id)
);

CREATE INDEX attempt_message ON attempt (message_id);

CREATE INDEX attempt_open ON attempt (cell_id, claimed_at) WHERE finished_at IS NULL;

CREATE INDEX attempt_ses_id ON attempt (ses_id) WHERE ses_id IS NOT NULL;

CREATE TABLE bucket (
    stream_id UUID NOT NULL,
    cohort INTEGER NOT NULL,
    number BIGINT NOT NULL,
    handed INTEGER NOT NULL,
    reporting INTEGER NOT NULL,
    bounced INTEGER NOT NULL,
    complained INTEGER NOT NULL,
    first_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (stream_id, cohort, number)
);

CREATE TABLE cell (
    id UUID NOT NULL,
    name TEXT NOT NULL,
    region TEXT NOT NULL,
    rate_per_second FLOAT NOT NULL,
    quota_24h FLOAT NOT NULL,
    sent_24h FLOAT NOT NULL,
    sending_enabled BOOLEAN NOT NULL,
    enforcement TEXT NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE,
    tokens FLOAT NOT NULL,
    tokens_at TIMESTAMP WITH TIME ZONE NOT NULL,
    backoff FLOAT NOT NULL,
    shares TEXT NOT NULL,
    events_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id),
    UNIQUE (name)
);

CREATE TABLE content (
    message_id UUID NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (message_id)
)
 PARTITION BY RANGE (message_id);

CREATE TABLE event (
    message_id UUID NOT NULL,
    digest TEXT NOT NULL,
    tenant_id UUID NOT NULL,
    kind TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
    recipients TEXT NOT NULL,
    detail TEXT NOT NULL,
    raw TEXT NOT NULL,
    PRIMARY KEY (message_id, digest)
)
 PARTITION BY RANGE (message_id);

CREATE TABLE identity (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    cell_id UUID NOT NULL,
    name TEXT NOT NULL,
    dkim TEXT NOT NULL,
    selector TEXT NOT NULL,
    public_key TEXT NOT NULL,
    private_key BYTEA NOT NULL,
    status TEXT NOT NULL,
    ses_status TEXT NOT NULL,
    tokens TEXT NOT NULL,
    verified_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (name)
);

CREATE INDEX identity_tenant ON identity (tenant_id);

CREATE TABLE key (
    id UUID NOT NULL,
    tenant_id UUID,
    secret BYTEA NOT NULL,
    scopes TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    revoked_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id)
);

CREATE INDEX key_tenant ON key (tenant_id);

CREATE TABLE lane (
    stream_id UUID NOT NULL,
    cell_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    pool_id UUID NOT NULL,
    stream_class TEXT NOT NULL,
    tag FLOAT NOT NULL,
    weight FLOAT NOT NULL,
    ready BOOLEAN NOT NULL,
    tokens FLOAT NOT NULL,
    tokens_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (stream_id)
);

CREATE INDEX lane_ready ON lane (cell_id, stream_class, tag) WHERE ready;

CREATE INDEX lane_tenant ON lane (tenant_id);

CREATE TABLE message (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    stream_id UUID NOT NULL,
    state TEXT NOT NULL,
    sender TEXT NOT NULL,
    reply_to TEXT NOT NULL,
    subject TEXT NOT NULL,
    tags TEXT NOT NULL,
    size INTEGER NOT NULL,
    recipients INTEGER NOT NULL,
    accepted_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    settled_at TIMESTAMP WITH TIME ZONE,
    ses_id TEXT,
    reason TEXT,
    possible_duplicate BOOLEAN NOT NULL,
    PRIMARY KEY (id)
)
 PARTITION BY RANGE (id);

CREATE INDEX message_of_tenant ON message (tenant_id, id);

CREATE INDEX message_unknown ON message (id) WHERE state = 'unknown';

CREATE TABLE mirror (
    cell_id UUID NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    attributes TEXT NOT NULL,
    observed TEXT NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (cell_id, kind, name)
);

CREATE TABLE pause (
    id UUID NOT NULL,
    scope_kind TEXT NOT NULL,
    scope_id UUID NOT NULL,
    cell_id UUID NOT NULL,
    tenant_id UUID,
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    verdict_id UUID,
    opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
    local_at TIMESTAMP WITH TIME ZONE,
    fenced_at TIMESTAMP WITH TIME ZONE,
    ended_at TIMESTAMP WITH TIME ZONE,
    end_reason TEXT,
    PRIMARY KEY (id),
    CHECK (scope_kind IN ('stream', 'tenant', 'pool', 'cell'))
);

CREATE UNIQUE INDEX pause_open ON pause (scope_id, author) WHERE ended_at IS NULL;

CREATE TABLE pool (
    id UUID NOT NULL,
    cell_id UUID NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (cell_id, name)
);

CREATE TABLE quarantine (
    id BIGSERIAL NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
    reason TEXT NOT NULL,
    raw TEXT NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE recipient (
    message_id UUID NOT NULL,
    number INTEGER NOT NULL,
    tenant_id UUID NOT NULL,
    stream_id UUID NOT NULL,
    kind TEXT NOT NULL,
    mailbox TEXT NOT NULL,
    address TEXT NOT NULL,
    facts INTEGER NOT NULL,
    cohort INTEGER NOT NULL,
    ordinal BIGINT,
    handed_at TIMESTAMP WITH TIME ZONE,
    bounced_at TIMESTAMP WITH TIME ZONE,
    complained_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (message_id, number)
)
 PARTITION BY RANGE (message_id);

CREATE INDEX recipient_complained ON recipient (stream_id, cohort, ordinal) WHERE complained_at IS NOT NULL;

CREATE TABLE remembered (
    tenant_id UUID NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    answer TEXT NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (tenant_id, name)
);

CREATE TABLE stream (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    cell_id UUID NOT NULL,
    pool_id UUID NOT NULL,
    name TEXT NOT NULL,
    stream_class TEXT NOT NULL,
    policy TEXT NOT NULL,
    is_default BOOLEAN NOT NULL,
    provisioned_at TIMESTAMP WITH TIME ZONE,
    send_limit FLOAT,
    ramp_stage INTEGER,
    stage_at TIMESTAMP WITH TIME ZONE,
    stage_handed BIGINT NOT NULL,
    cohort INTEGER NOT NULL,
    handed BIGINT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (tenant_id, name)
);

CREATE TABLE suppression (
    tenant_id UUID NOT NULL,
    address TEXT NOT NULL,
    scope TEXT NOT NULL,
    cause TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (tenant_id, address, scope)
);

CREATE TABLE tenant (
    id UUID NOT NULL,
    name TEXT NOT NULL,
    cell_id UUID NOT NULL,
    account TEXT NOT NULL,
    labels TEXT NOT NULL,
    revision BIGINT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (name),
    UNIQUE (account)
);

CREATE TABLE verdict (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    stream_id UUID NOT NULL,
    cell_id UUID NOT NULL,
    kind TEXT NOT NULL,
    action TEXT NOT NULL,
    cohort INTEGER NOT NULL,
    block_start BIGINT NOT NULL,
    block_size BIGINT NOT NULL,
    n BIGINT NOT NULL,
    x BIGINT NOT NULL,
    line FLOAT NOT NULL,
    log_e FLOAT NOT NULL,
    bar FLOAT NOT NULL,
    policy TEXT NOT NULL,
    words TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    acted_at TIMESTAMP WITH TIME ZONE,
    pause_id UUID,
    PRIMARY KEY (id),
    UNIQUE (stream_id, cohort, kind, action, block_start, block_size)
);

CREATE INDEX verdict_due ON verdict (cell_id) WHERE acted_at IS NULL;

CREATE TABLE waiting (
    message_id UUID NOT NULL,
    stream_id UUID NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    cost INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    hold TEXT,
    PRIMARY KEY (message_id)
);

CREATE INDEX waiting_in_lane ON waiting (stream_id, due_at, message_id);

CREATE TABLE wake (
    id BIGSERIAL NOT NULL,
    cell_id UUID NOT NULL,
    stream_id UUID NOT NULL,
    PRIMARY KEY (id)
);
