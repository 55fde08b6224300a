"""The configuration as a C struct: what ``config.Config`` says, read once, for the mechanisms."""


cdef int settings_read(Settings* out, object config) except -1:
    """Copy every field of a ``Config``."""
    out.probe_interval_us = config.probe_interval_us
    out.gossip_interval_us = config.gossip_interval_us
    out.gossip_fanout = config.gossip_fanout
    out.packets_per_tick_max = config.packets_per_tick_max
    out.indirect_probes = config.indirect_probes
    out.last_check_probes = config.last_check_probes
    out.rto_min_us = config.rto_min_us
    out.rto_max_us = config.rto_max_us
    out.second_look_us = config.second_look_us
    out.pause_tolerance_us = config.pause_tolerance_us
    out.bystander_wait_us = config.bystander_wait_us
    out.flap_returns = config.flap_returns
    out.flap_window_us = config.flap_window_us
    out.flap_hold_us = config.flap_hold_us
    out.contact_min_us = config.contact_min_us
    out.contact_max_us = config.contact_max_us
    out.questions_per_second = config.questions_per_second
    out.exchanges_per_second = config.exchanges_per_second
    out.tombstone_floor_us = config.tombstone_floor_us
    out.stamp_ahead_us = config.stamp_ahead_us
    out.leave_timeout_us = config.leave_timeout_us
    return 0
