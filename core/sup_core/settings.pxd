from libc.stdint cimport int64_t

cdef struct Settings:
    int64_t probe_interval_us
    int64_t gossip_interval_us
    int gossip_fanout
    int packets_per_tick_max
    int indirect_probes
    int last_check_probes
    int64_t rto_min_us
    int64_t rto_max_us
    int64_t second_look_us
    int64_t pause_tolerance_us
    int64_t bystander_wait_us
    int flap_returns
    int64_t flap_window_us
    int64_t flap_hold_us
    int64_t contact_min_us
    int64_t contact_max_us
    int questions_per_second
    int exchanges_per_second
    int64_t tombstone_floor_us
    int64_t stamp_ahead_us
    int64_t leave_timeout_us

cdef int settings_read(Settings* out, object config) except -1
