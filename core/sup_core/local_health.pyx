"""How far this node trusts itself: Lifeguard's local health multiplier, 0 (well) to 8.

Falls (the score rises) when a probe ends with no answer from anybody, neither from the target nor
from any helper, and when this node had to refute a suspicion; recovers by one with every probe
that anybody answered. The probe interval is stretched up to three times. Helpers that merely
could not reach a dead target say nothing about this node. Two probes in a row without any answer:
the node is cut off and says so. Source: Lifeguard, Dadgar et al. 2017, section IV-A; the cut-off
rule is this project's.
"""
from sup_core.limits cimport HEALTH_SCORE_MAX

cdef enum:
    _SILENT_PROBES_MAX = 2


cdef class LocalHealth:
    """The health score of one node."""

    cdef bint answered(self) noexcept:
        """A probe was answered. True when that ends a time of being cut off."""
        cdef bint was = self.cut_off
        self.silent_probes = 0
        self.cut_off = False
        if self.score > 0:
            self.score -= 1
        return was

    cdef bint nobody_answered(self) noexcept:
        """A probe ended without any answer. True when the node is cut off from here on."""
        self.unanswered += 1
        self.silent_probes += 1
        if self.score < HEALTH_SCORE_MAX - 1:
            self.score += 1
        if self.silent_probes >= _SILENT_PROBES_MAX and not self.cut_off:
            self.cut_off = True
            return True
        return False

    cdef int stretch(self) noexcept:
        """By how much the probe interval is stretched: 1 when well, 3 at worst.

        Not by score + 1 as in Lifeguard: who cannot reach anybody accuses nobody here, and after a
        mass crash the survivors must not probe eight times slower to find the rest.
        """
        return 1 + self.score // 3

    cdef void refuted(self) noexcept:
        """This node had to refute a suspicion about itself."""
        if self.score < HEALTH_SCORE_MAX - 1:
            self.score += 1
