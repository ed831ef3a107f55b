"""Runs services: containers in the pod of one run, beside a task, or by hand under `envtool up`.

fresh_client       Makes a service fresh from inside of a task: a function, a plugin of pytest, a command
fresh_directory    The directory by which a task asks for fresh services: clients and a socket
fresh_server       Takes `fresh NAME` from a task's container
group              ServiceGroup: starts services, stops them, scales and replaces them, and says which one failed
group_values       The setting of a group, and the states of its services and replicas
host_ports         Publishes ports on this machine; if a port is taken, names the process that has it
pod_place          The place in the pod of a task, of `exec` and of `shell`
prepared_state     Builds the layer with the files that the commands of `prepare:` leave
ready              Waits until a replica is ready
ready_probes       The probes of `ready:`: tcp, http, command, log and file
replica            One replica of a service: starts its container, waits, restarts and stops
replica_log        The log of a replica: a file of bounded size, and the last lines in memory
service_container  The request of a service from its stack, and the container of a request, as plain values
service_errors     The errors of services, with their place in the spec and the last lines of their logs
service_request    ServiceRequest: one service as a plain value
state_plan         The key of prepared state, from all that decides it
up/                Runs the services of a project until the user stops them

A task uses it like this:

    with ServiceGroup(setting, spare=2) as group:       # the pod starts meanwhile
        group.start([LocalService(request=…, stack=…)])   # returns when all are ready
        with group.member("envtool") as place:          # the network of the task's container
            runner.run(…, joins=place.namespaces, cancel=group.cancel)
"""
