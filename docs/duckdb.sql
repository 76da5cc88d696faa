-- Questions to a folder or a bucket of objects: see duckdb.md.
-- Write where yours are: a folder as here, or 's3://bucket/prefix/'.
SET VARIABLE place = '/var/log/tcpdiag/parquet/';

-- Every record once.  date and hour are the folders' names, when an object was made: a filter on them keeps files from being
-- read, but records are up to object-age older.
CREATE OR REPLACE TEMP VIEW records AS
SELECT * FROM read_parquet(getvariable('place') || 'sockets/**/*.parquet', hive_partitioning = true, union_by_name = true)
QUALIFY row_number() OVER (PARTITION BY collector_epoch, record_sequence) = 1;

-- The network of a peer: /24 of IPv4, also of IPv4 in IPv6, and /48 of IPv6.
CREATE OR REPLACE TEMP MACRO network(address, bytes) AS
CASE WHEN contains(address, '.') THEN regexp_extract(address, '(\d+\.\d+\.\d+)\.\d+$', 1) || '.0/24'
     ELSE lower(regexp_replace(substr(hex(bytes), 1, 12), '(....)(....)(....)', '\1:\2:\3::/48')) END;

-- The last snapshot of each namespace in each so many minutes; one that was begun anew counts by its last attempt.
CREATE OR REPLACE TEMP MACRO last_snapshots(width) AS TABLE
SELECT *, time_bucket(width, timestamp_ns) AS "time" FROM records
QUALIFY (snapshot_sequence, snapshot_attempt) = max((snapshot_sequence, snapshot_attempt)) OVER (PARTITION BY collector_epoch, time_bucket(width, timestamp_ns));

-- 1. The worst round-trip times, by peer network.
SELECT network(inet_diag_msg_socket_destination_text, inet_diag_msg_socket_destination) AS network,
       quantile_cont(tcp_info_rtt, 0.99) / 1000 AS p99_ms, max(tcp_info_rtt) / 1000 AS worst_ms,
       count(DISTINCT (hostname, inet_diag_msg_socket_cookie)) AS connections
FROM records
WHERE inet_diag_msg_state = 'ESTABLISHED' AND tcp_info_rtt > 0
GROUP BY ALL ORDER BY p99_ms DESC, network LIMIT 20;

-- 2. Retransmit rates, by namespace: of what each socket sent between its first and its last record.
WITH sockets AS (
    SELECT hostname, netns, netns_cookie, inet_diag_msg_socket_cookie,
           max(tcp_info_data_segs_out) - min(tcp_info_data_segs_out) AS sent,
           max(tcp_info_total_retrans) - min(tcp_info_total_retrans) AS retransmitted
    FROM records WHERE inet_diag_msg_state <> 'LISTEN' GROUP BY ALL)
SELECT hostname, netns, sum(sent)::BIGINT AS segments, sum(retransmitted)::BIGINT AS retransmits, sum(retransmitted) / nullif(sum(sent), 0) AS rate
FROM sockets GROUP BY ALL ORDER BY rate DESC NULLS LAST, hostname, netns;

-- 3. Sockets by state, over time.
SELECT "time", inet_diag_msg_state AS state, count(*) AS sockets
FROM last_snapshots(INTERVAL 1 MINUTE) GROUP BY ALL ORDER BY "time", sockets DESC, state;

-- 4. The memory of sockets, by namespace, in bytes, as of the last snapshot of each.
SELECT hostname, netns, count(*) AS sockets, sum(sk_mem_info_rmem_alloc)::BIGINT AS received, sum(sk_mem_info_wmem_queued)::BIGINT AS queued,
       sum(sk_mem_info_rmem_alloc + sk_mem_info_wmem_queued + sk_mem_info_fwd_alloc + sk_mem_info_optmem + sk_mem_info_backlog)::BIGINT AS total
FROM last_snapshots(INTERVAL 1000 YEAR) GROUP BY ALL ORDER BY total DESC NULLS LAST, hostname, netns;

-- 5. Congestion control in use, as of the last snapshot of each namespace.
SELECT congestion_algorithm_string AS algorithm, count(*) AS connections, count(DISTINCT (hostname, netns)) AS namespaces,
       median(tcp_info_rtt) / 1000 AS median_ms
FROM last_snapshots(INTERVAL 1000 YEAR) WHERE inet_diag_msg_state = 'ESTABLISHED' AND congestion_algorithm_string IS NOT NULL
GROUP BY ALL ORDER BY connections DESC, algorithm;
