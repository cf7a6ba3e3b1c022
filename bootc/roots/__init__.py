"""Deployments of whole roots that the initramfs mounts by a plan, for backends without a boot tool of their own.

A backend brings a store, which keeps images, and answers for it what `Images` asks. Everything else is here: records,
with one atomic step (`records`), what is booted and staged (`sysroot`), the way to boot (`boot`), which deployments
stay (`retention`), and the deployer itself, with an /etc for each deployment, a /var for each stateroot (`deployer`).
"""
