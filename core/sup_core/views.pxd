from libc.stdint cimport int32_t, uint8_t
from sup_core.blobs cimport RumorBlob
from sup_core.event_queue cimport EventRecord
from sup_core.member_table cimport MemberTable

cdef object member_view(MemberTable table, int32_t row)
cdef object rumor_view(const RumorBlob* blob)
cdef object version_view(const RumorBlob* blob)
cdef object event_view(EventRecord* record)
cdef bytes card_bytes(object name, object tags)
cdef str short_text(object number)
