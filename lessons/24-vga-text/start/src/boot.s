# From the state in which the loader starts a kernel to the first line of Rust.
# The loader leaves the processor in 32-bit protected mode, without paging. Rust's code for x86_64 needs 64-bit
# "long mode", and long mode needs page tables. Nothing else is done here.

# --- the note: how the loader knows that this file is a kernel, and where it begins ---------------------------------

.section .note.Xen, "a", @note
.balign 4
    .long 4                     # how long the name below is
    .long 4                     # how long the value below is
    .long 18                    # the kind of note: a 32-bit entry point by the PVH convention
    .asciz "Xen"                # whose kind it is: the convention comes from the Xen project
    .long boot                  # the value: the address of the first instruction

# --- 32 bits --------------------------------------------------------------------------------------------------------

.section .boot, "ax"
.code32
.global boot
boot:
    cli                         # no interrupts: nobody here could handle one
    mov esp, offset stack_top   # a stack, which grows downwards

    # The page directory: 512 entries of 2 MiB each map the first gibibyte to itself.
    mov edi, offset directory   # the entry to write
    mov eax, 0x83               # address 0; bits: present, writable, a large page
    mov ecx, 512                # entries to go
2:
    mov [edi], eax              # the lower half of the entry; the upper half stays 0
    add eax, 0x200000           # the next 2 MiB
    add edi, 8                  # the next entry
    dec ecx                     # one less to go
    jnz 2b                      # until there is none

    # The two tables above it need one entry each. 3 means: present, writable.
    mov eax, offset directory
    or eax, 3
    mov [pointers], eax         # the third table points to the directory
    mov eax, offset pointers
    or eax, 3
    mov [map], eax              # the fourth and highest one to the third

    mov eax, offset map
    mov cr3, eax                # cr3: where the highest table lies

    mov eax, cr4
    or eax, 0x20                # bit 5: entries of 8 bytes (PAE), which long mode wants
    mov cr4, eax

    mov ecx, 0xC0000080         # the register EFER
    rdmsr
    or eax, 0x100               # bit 8: long mode, as soon as paging is on
    wrmsr

    mov eax, cr0
    or eax, 0x80000001          # bit 31: paging; bit 0: protected mode
    mov cr0, eax

    lgdt [table_pointer]        # a table of segments, one of which is for 64-bit code
    .byte 0xea                  # a far jump, written in bytes: to
    .long long_mode             # this address
    .word 8                     # in the segment at byte 8 of that table

# --- 64 bits --------------------------------------------------------------------------------------------------------

.code64
long_mode:
    xor eax, eax                # long mode uses no data segments: clear them all
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov fs, eax
    mov gs, eax
    mov rsp, offset stack_top   # the same stack again, now with 64 bits
    call _start                 # Rust; it does not come back
3:
    hlt                         # if it did, sleep
    jmp 3b

# --- tables ---------------------------------------------------------------------------------------------------------

.section .rodata
.balign 8
segments:
    .quad 0                     # the first segment is never used
    .quad 0x00209A0000000000    # code, present, 64 bits
table_pointer:
    .word 15                    # the table's last byte
    .long segments              # where it begins

.section .bss
.balign 4096                    # page tables begin where a page does
map: .skip 4096
pointers: .skip 4096
directory: .skip 4096
stack: .skip 65536              # 64 KiB are enough for us
stack_top:
