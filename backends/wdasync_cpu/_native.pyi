from typing import Any

ffi: Any
lib: Any
configure: Any
add_plan: Any
open_desk: Any
open_port: Any
methods: Any
open_line: Any
open_session: Any
reset_session: Any
close_session: Any
join: Any
leave: Any
next_task: Any
finish_task: Any
must_stop: Any
explain: Any
measure: Any
crc32c: Any
try_digests: Any
new_secret: Any
new_signer: Any
try_signing: Any
set_batches: Any
tiny: Any
