# Chooses units and gives root an empty password. Runs inside the tree, as root, by /bin/sh.
set -eu
systemctl --quiet preset-all
systemctl --quiet set-default multi-user.target
# Where a preset has no say, because other units of /usr want them: a console that nobody sees, sessions that nobody
# opens, network settings on the kernel command line, and programs for other processors.
systemctl --quiet mask getty@tty1.service systemd-logind.service systemd-network-generator.service systemd-binfmt.service
passwd --quiet --delete root
rm -f /etc/passwd- /etc/shadow- /etc/.pwd.lock
