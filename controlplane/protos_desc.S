// SPDX-License-Identifier: ISC
//
// protos_desc.S - the descriptors of every .proto file, embedded for server reflection.
	.section .rodata
	.global protos_desc
	.global protos_desc_end
	.balign 16
protos_desc:
	.incbin "protos.desc"
protos_desc_end:
	.byte 0
	.section .note.GNU-stack,"",@progbits
