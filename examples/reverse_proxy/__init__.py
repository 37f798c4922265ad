"""A reverse proxy that polls: the shape of a DPDK program, around real HTTP. See docs/explanation/reverse-proxy.md.

python -m examples.reverse_proxy --upstream 127.0.0.1:8000
python -m examples.reverse_proxy --upstream 127.0.0.1:8000 --model pipeline
python -m examples.reverse_proxy --upstream 127.0.0.1:8000 --model plain
"""
