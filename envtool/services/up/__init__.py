"""Services that a user runs by hand: `up`, `down`, `ps`, `logs`, `scale`. One process a project holds them, the service
manager; there is none for the whole machine.

control_client     Asks a service manager
control_protocol   The messages between a verb and a service manager, and their bounds
control_server     Answers them
detach             Starts a process that outlives the terminal
manager            The service manager: starts, changes and stops the services of one project
manager_process    Runs it in this process, until a signal or a request ends it
project_state      The directory of a project's services: lock, socket, record, log
project_watch      Says which files of the project changed
service_log        The log of all services of a project: writes, reads and follows it
service_status     The state of replicas as JSON values, and in words
standing_group     A group of services that come and go
tree_watch         Watches directories for changes of their entries
watched_changes    Finds the changes of watched files that count
writable_checkout  What containers may not write in a checkout that they may write to, and the guard over it
"""
