declare -A tricky_ports=([http]=1 [admin-port]=2)
