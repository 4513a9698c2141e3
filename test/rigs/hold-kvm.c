// SPDX-License-Identifier: Apache-2.0
/*
 * hold-kvm COMMAND...: runs a command that has a VM of KVM from its start to its end; the VM does nothing.
 *
 * The first VM of a host and its last one have the host's kernel change its own scheduler's code (the static key
 * preempt_notifier_key). QEMU's TCG can miss what one emulated CPU changes of the code that another one is about to run: that one
 * then meets the breakpoint of the change for ever, with the lock of its run queue, and the emulated host stands still. While there
 * is a VM nothing is changed.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);

	/* KVM marks it close-on-exec; open, it keeps the VM. */
	if (argc < 2 || vm < 0 || fcntl(vm, F_SETFD, 0) < 0) {
		perror("hold-kvm: no VM of KVM");
		return 1;
	}
	execvp(argv[1], argv + 1);
	perror(argv[1]);
	return 127;
}
