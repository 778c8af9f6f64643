"""Parsing QEMU commands: a kernel of the crate on a few boards, and one sentence for every other command."""

import pytest

from app.protocol.command import CommandError, parse

ELF = "target/thumbv7em-none-eabihf/debug/blog_os"


@pytest.mark.parametrize(
    ("line", "built"),
    [
        (f"qemu-system-arm -M mps2-an386 -kernel {ELF}", True),
        (f"qemu-system-arm -machine mps2-an386 -semihosting -serial stdio -display none -kernel {ELF}", True),
        ("qemu-system-x86_64 -device isa-debug-exit,iobase=0xf4,iosize=0x04 -kernel target/blog_os -nographic", True),
        ("qemu-system-x86_64 -d int,cpu_reset -no-reboot -m 64M -kernel target/blog_os", True),
        ("qemu-system-x86_64 -kernel kernel.elf", False),
        ("qemu-system-x86_64 --version", False),
    ],
)
def test_a_kernel_of_the_crate_can_be_started(line: str, built: bool) -> None:
    command = parse(line)
    assert (command.kind, command.needs_artifact) == ("emulate", built)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("", "which kernel"),
        ("-version -kernel target/a", "not offered"),
        ("-kernel", "needs a value"),
        ("-kernel /etc/passwd", "outside of the crate"),
        ("-kernel ../../etc/passwd", "outside of the crate"),
        ("-kernel target/../../a", "outside of the crate"),
        ("-drive file=disk.img -kernel target/a", "not offered"),
        ("-hda disk.img -kernel target/a", "not offered"),
        ("-netdev user,id=n -kernel target/a", "not offered"),
        ("-nic user -kernel target/a", "is not a value"),
        ("-chardev file,id=c,path=out -kernel target/a", "not offered"),
        ("-serial file:out -kernel target/a", "is not a value"),
        ("-serial tcp:127.0.0.1:80 -kernel target/a", "is not a value"),
        ("-serial /dev/tty -kernel target/a", "is not a value"),
        ("-monitor stdio -kernel target/a", "is not a value"),
        ("-display gtk -kernel target/a", "is not a value"),
        ("-M virt -kernel target/a", "is not a value"),
        ("-m 64G -kernel target/a", "is not a value"),
        ("-smp 64 -kernel target/a", "is not a value"),
        ("-accel kvm -kernel target/a", "is not a value"),
        ("-device virtio-9p -kernel target/a", "is not a value"),
        ("-device isa-debug-exit,iobase=0xf4\n -kernel target/a", "one line"),
        ("-semihosting-config enable=on,chardev=c -kernel target/a", "is not a value"),
        ("-readconfig a -kernel target/a", "not offered"),
        ("-D log -kernel target/a", "not offered"),
        ("-gdb tcp::1234 -kernel target/a", "not offered"),
        ("-s -kernel target/a", "not offered"),
        ("target/a", "not offered"),
    ],
)
def test_everything_else_is_refused_with_a_sentence(arguments: str, says: str) -> None:
    with pytest.raises(CommandError, match=says):
        parse(f"qemu-system-arm {arguments}")
