// A web server inside a VM that has no network device, reached through a port of this host.
//
//   node examples/web-server.js
import { Vm } from 'polyvisor';

const vm = await Vm.create({ vcpus: 1, memoryMiB: 256 });
try {
  await vm.exec('mkdir -p /srv/www && echo "hello from $(uname -n)" > /srv/www/index.html', { check: true });
  // Started detached, it lives on beside the commands that follow; its output goes to the console.
  await vm.exec(['httpd', '-f', '-p', '127.0.0.1:8080', '-h', '/srv/www'], { detach: true }).pid;

  const port = await vm.forwardPort({ guestPort: 8080 });
  try {
    const answer = await fetch(`http://${port.hostAddress}:${port.hostPort}/`);
    console.log(answer.status, (await answer.text()).trim());
  } finally {
    await port.close();
  }
} finally {
  await vm.remove();
}
